import { expect, it } from 'vitest';
import { metric } from './server-sampler.ts';
import { runSoak } from './soak.ts';
import { judge, trendFindings } from './verdict.ts';
import { repeat } from './workload.ts';

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
  const collected = samples.filter(({ liveBytes }) => liveBytes !== null);
  expect(collected.length).toBeGreaterThanOrEqual(3);
  expect(collected.length, 'it collects when it likes in between').toBeLessThan(samples.length);
  for (const { liveBytes } of collected) expect(liveBytes).toBeGreaterThan(1024 * 1024);
  for (const { stuck, liveBytes: _, ...numbers } of samples) {
    for (const [name, value] of Object.entries(numbers)) expect(value, name).toBeGreaterThanOrEqual(0);
    expect(numbers.residentBytes, `${stuck}`).toBeGreaterThan(1024 * 1024);
    expect(numbers.walFiles).toBeGreaterThan(0);
    expect(numbers.timers).toBeGreaterThan(0);
    expect(numbers.metadataBytes).toBeGreaterThan(0);
    expect(numbers.descriptors).toBeGreaterThan(10);
  }
}, 120_000);

it('a load that loses, repeats, fails and waits does not hold', async () => {
  const { samples, end } = await runSoak({
    durationMs: 2000,
    sampleMs: 500,
    workloads: [
      async (context) => {
        const { ledger } = context;
        ledger.read('reader', 's', { once: true });
        for (const number of [0, 1, 1]) ledger.give('reader', 's', number);
        for (const number of [0, 1, 2]) ledger.acknowledge('s', number);
        context.expect('waiting');
        await repeat('failing', context, () => Promise.reject(new Error('refused')));
      },
    ],
  });
  const failed = judge(samples, end).filter(({ name, held }) => !held && !trends.includes(name));
  expect(failed.map(({ name, detail }) => [name, detail])).toEqual([
    ['no client is stuck', 'waiting; failing'],
    ['nothing is lost', 'reader was not given 2 of the 3 acknowledged of s'],
    ['nothing comes twice that should come once', 'reader was given 1 of s twice'],
    ['no errors', expect.stringContaining('failing: refused')],
  ]);
}, 120_000);

it('a metric that a server does not have is no 0', () => {
  const text = '# TYPE one gauge\none 1\nother_one 2\n';
  expect(metric(text, 'one')).toBe(1);
  expect(() => metric(text, 'two')).toThrow('the server has no metric two');
});
