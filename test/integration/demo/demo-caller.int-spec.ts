import { someCaller } from '../../../src/demo/demo-caller.js';
import { classifyCaller } from '../../../src/telephony/calls/caller.policy.js';

it('is called from numbers that get a text', () => {
  for (let n = 0; n < 20_000; n++) {
    const phone = someCaller();
    expect(classifyCaller(phone)).toEqual({ kind: 'reachable', phone });
  }
});
