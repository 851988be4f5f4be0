import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { MetricSource } from './metric-source.ts';

/** All metrics of the process in Prometheus' text format; the values are read when they are asked for. */
export class Metrics {
  readonly #registry = new Registry();

  constructor(sources: readonly MetricSource[]) {
    collectDefaultMetrics({ register: this.#registry });
    for (const source of sources) this.#add(source);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #add({ name, help, type, values }: MetricSource): void {
    const labelNames = [...new Set([...values()].flatMap(({ labels }) => Object.keys(labels ?? {})))];
    const options = { name, help, labelNames, registers: [this.#registry] };
    if (type === 'gauge') {
      const collect = function (this: Gauge): void {
        this.reset();
        for (const { labels = {}, value } of values()) this.set(labels, value);
      };
      new Gauge({ ...options, collect });
      return;
    }
    const collect = function (this: Counter): void {
      this.reset();
      for (const { labels = {}, value } of values()) this.inc(labels, value);
    };
    new Counter({ ...options, collect });
  }
}
