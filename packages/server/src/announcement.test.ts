import { describe, expect, it } from 'vitest';
import { announcement } from './announcement.ts';

const hosts = ['127.0.0.1', '::1'];
const context = { folder: '/data', startMs: 321.4, problems: [] };

describe('the announcement', () => {
  it('semantics 9.6: shows every listener and exactly three lines to try', () => {
    const text = announcement(
      [
        { name: 'mqtt', hosts, port: 1883 },
        { name: 'mqttWebSocket', hosts, port: 8083 },
        { name: 'kafka', hosts, port: 9092 },
        { name: 'admin', hosts: ['127.0.0.1'], port: 58_080 },
      ],
      context,
    );
    expect(text).toMatchInlineSnapshot(`
      "RobustMQ is listening; its data is in /data
        mqtt           127.0.0.1:1883  [::1]:1883
        mqttWebSocket  ws://127.0.0.1:8083/mqtt  ws://[::1]:8083/mqtt
        kafka          127.0.0.1:9092  [::1]:9092
        admin          http://127.0.0.1:58080
      Try, each in a terminal of its own:
        mosquitto_sub -h 127.0.0.1 -v -t 'demo/#'
        mosquitto_pub -h 127.0.0.1 -q 1 -t demo/hello -m world
        kcat -b 127.0.0.1:9092 -C -t mqtt -f '%k %s\\n'
      ready after 321 ms
      "
    `);
  });

  it('names ports that are not the usual ones, and an address that clients can use', () => {
    const text = announcement(
      [
        { name: 'mqtt', hosts: ['0.0.0.0'], port: 2883 },
        { name: 'kafka', hosts: ['::1'], port: 29_092 },
      ],
      context,
    );
    expect(text).toContain("mosquitto_sub -h 127.0.0.1 -p 2883 -v -t 'demo/#'\n");
    expect(text).toContain("kcat -b [::1]:29092 -C -t mqtt -f '%k %s\\n'\n");
  });

  it('says which listener stays closed', () => {
    const text = announcement([], { ...context, problems: ['kafka: damaged'] });
    expect(text).toContain('Not open: kafka: damaged\nNOT ready after 321 ms\n');
  });

  it('offers nothing to try for listeners that are not open', () => {
    const text = announcement([{ name: 'admin', hosts: ['127.0.0.1'], port: 1 }], context);
    expect(text.split('\n')).toHaveLength(4);
  });
});
