import { expect, it } from 'vitest';
import { runSoak } from './soak.ts';
import { judge, trendFindings } from './verdict.ts';

/** What a run of seconds can not show: `npm run soak` runs for 30 minutes. */
const trends = trendFindings([]).map(({ name }) => name);

it('every part of the load works for 20 s: nothing is lost, nobody is stuck, no errors', async () => {
  const { samples, end, clients } = await runSoak({ durationMs: 20_000, sampleMs: 2000 });
  const failed = judge(samples, end).filter(({ name, held }) => !held && !trends.includes(name));
  expect(failed).toEqual([]);
  expect([...clients].sort()).toEqual(
    [
      ...['kafka-churn', 'kafka-group', 'kafka-producer', 'kafka-second-member', 'raw-kafka'],
      ...['mqtt-kept-session', 'mqtt-mortal', 'mqtt-retained-reader', 'mqtt-will-watcher'],
      ...[0, 1, 2].flatMap((qos) => [`mqtt-reader-${qos}`, `mqtt-writer-${qos}`]),
      ...['raw-mqtt-reader', 'raw-mqtt-writer'],
    ].sort(),
  );
  expect(samples.length).toBeGreaterThanOrEqual(5);
  for (const { stuck, ...numbers } of samples) {
    for (const [name, value] of Object.entries(numbers)) expect(value, name).toBeGreaterThanOrEqual(0);
    expect(numbers.residentBytes, `${stuck}`).toBeGreaterThan(1024 * 1024);
    expect(numbers.walFiles).toBeGreaterThan(0);
    expect(numbers.descriptors).toBeGreaterThan(10);
  }
}, 120_000);
