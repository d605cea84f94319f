import twilio from 'twilio';

const { VoiceResponse } = twilio.twiml;

/** Below the point where carriers' voicemail picks up and makes a missed call look answered. */
const RING_SECONDS = 18;

/** Tells the caller what happens next, and hangs up. */
export function sayMissed(businessName: string, willText: boolean): string {
  const response = new VoiceResponse();
  response.say(
    willText
      ? `Thank you for calling ${speakable(businessName)}. We can't take your call right now. We are sending you a text message, please reply there.`
      : `Thank you for calling ${speakable(businessName)}. We can't take your call right now. Please try again later.`,
  );
  response.hangup();
  return response.toString();
}

/** Rings the owner; `actionUrl` learns how it went. */
export function dialOwner(ownerPhone: string, actionUrl: string): string {
  const response = new VoiceResponse();
  response.dial({ action: actionUrl, method: 'POST', timeout: RING_SECONDS, answerOnBridge: true }).number(ownerPhone);
  return response.toString();
}

export function hangUp(): string {
  const response = new VoiceResponse();
  response.hangup();
  return response.toString();
}

/** An empty answer: nothing to do, nothing to send. */
export function acknowledge(): string {
  return new twilio.twiml.MessagingResponse().toString();
}

/** XML 1.0 has no way to write control characters, and Twilio rejects a document that tries. */
function speakable(name: string): string {
  return name.toWellFormed().replace(/\p{Cc}|\ufffe|\uffff/gu, ' ');
}
