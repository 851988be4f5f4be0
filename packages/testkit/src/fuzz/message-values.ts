import { maxInt64, zeroUuid } from '@robustmq/kafka-codec';
import type { Api } from '@robustmq/kafka-codec';
import type { SimRandom } from '@robustmq/sim';

type Fields = Api['request']['fields'];
type Field = Fields[string];
type FieldType = Field['type'];

const texts = ['', 'a', 'topic', '\u{1F600}x', 'é'.repeat(90)];
const numbers: Readonly<Record<string, readonly number[]>> = {
  int8: [0, 1, -1, 127, -128],
  int16: [0, 1, -1, 32_767, -32_768],
  uint16: [0, 1, 65_535],
  int32: [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 70_000],
  int64: [0, 1, -1, maxInt64, Number.MIN_SAFE_INTEGER, 2 ** 40 + 5],
  float64: [0, 1.5, -2.25e100],
};

/** Values for the fields of a message, such as its version can carry; extremes more often than chance would have it. */
export function messageValue(fields: Fields, version: number, random: SimRandom): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [name, fieldValue(field, version, random)]),
  );
}

function fieldValue(field: Field, version: number, random: SimRandom): unknown {
  if (!isIn(field.versions, version)) return field.fallback;
  const nullable = field.nullable !== undefined && isIn(field.nullable, version);
  if (nullable && random.below(4) === 0) return null;
  return typeValue(field.type, version, random);
}

function typeValue(type: FieldType, version: number, random: SimRandom): unknown {
  switch (type.kind) {
    case 'bool':
      return random.below(2) === 0;
    case 'string':
      return texts[random.below(texts.length)];
    case 'uuid':
      return random.below(2) === 0 ? zeroUuid : '00112233445566778899aabbccddeeff';
    case 'bytes':
    case 'records':
      return Buffer.alloc(random.below(40), random.below(256));
    case 'struct':
      return messageValue(type.fields, version, random);
    case 'array':
      return Array.from({ length: random.below(4) }, () => typeValue(type.element, version, random));
    default: {
      const choices = numbers[type.kind]!;
      return choices[random.below(choices.length)];
    }
  }
}

/** Whether a schema's range of versions, `'3'`, `'3+'` or `'3-7'`, has `version`. */
function isIn(range: string, version: number): boolean {
  const [from, to] = range.split('-');
  const min = Number.parseInt(from!, 10);
  if (to !== undefined) return version >= min && version <= Number(to);
  return from!.endsWith('+') ? version >= min : version === min;
}
