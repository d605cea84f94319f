/**
 * The country calling codes of ITU-T E.164, grouped by the most digits a fixed or mobile number has after the code.
 * It tells where an international number ends when more digits follow it, and whether digits after `00` or `011` can
 * be a number at all.
 */
const CODES_BY_LENGTH: Readonly<Record<number, string>> = {
  5: '247 290 500 682',
  6: '298 299 672 681 687',
  7: `238 239 246 248 269 291 297 501 592 597 673 674 676 677 678 679 680 683 688 690 691 692 960`,
  8: `45 47 65 216 222 223 226 227 228 230 232 235 236 241 253 257 266 267 268 350 356 357 370 371 372 373 374 382 386
    389 502 503 504 505 506 507 509 591 598 599 670 675 686 689 852 853 961 965 968 973 974 975 993`,
  9: `27 32 33 34 36 40 41 46 48 51 56 61 66 93 94 211 212 213 218 220 221 224 231 233 237 240 242 244 245 249 250 251
    252 254 255 256 258 260 261 262 263 264 265 351 354 355 359 375 376 377 380 385 387 420 421 423 508 590 593 594
    595 596 855 886 962 963 966 967 970 971 992 994 995 996 998`,
  10: `1 7 20 30 44 52 53 57 58 60 63 64 81 82 84 90 91 92 95 98 225 229 234 243 353 358 378 685 850 856 880 964 976
    977`,
  11: '31 54 55 86 352',
  12: '39 62 381 383 972',
  13: '43 49',
};

const LONGEST = new Map<string, number>();
for (const [length, codes] of Object.entries(CODES_BY_LENGTH)) {
  for (const code of codes.split(/\s+/)) LONGEST.set(code, code.length + Number(length));
}

/** The most digits, calling code included, of a number that begins with these digits; undefined for no known code. */
export function longestNumber(digits: string): number | undefined {
  return LONGEST.get(digits.slice(0, 1)) ?? LONGEST.get(digits.slice(0, 2)) ?? LONGEST.get(digits.slice(0, 3));
}
