import { headerNames } from '@robustmq/kernel';
import { isSafeText } from '@robustmq/mqtt-codec';
import fc from 'fast-check';

const part = fc.oneof(
  fc.constantFrom(...Object.values(headerNames)),
  fc.constantFrom(
    'mq',
    'mq-up:',
    'mq-name:',
    'mq-key',
    ';base64',
    ';null',
    ';',
    '/w==',
    'YWI=',
    'ü',
    '🙂',
    '+',
    '#',
  ),
  fc.string({ maxLength: 6 }),
);

/** Text that a client may send, dense with what the mapping treats in a way of its own. */
export const trickyName = fc
  .array(part, { maxLength: 4 })
  .map((parts) => parts.join(''))
  .filter(isSafeText);

/** A value for such a name: base64 more often than not. */
export const trickyValue = fc.oneof(
  trickyName,
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('base64')),
);
