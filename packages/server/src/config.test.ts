import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from './config.ts';

function file(text: string): string {
  const path = join(mkdtempSync(join(tmpdir(), 'config-')), 'robustmq.yaml');
  writeFileSync(path, text);
  return path;
}

const none = new Map<string, string>();

describe('configuration', () => {
  it('has a default for everything', () => {
    const config = loadConfig(null, none);
    expect(config.listeners.mqtt).toEqual({ host: 'localhost', port: 1883, enabled: true });
    expect(config.admin.port).toBe(58_080);
  });

  it('names an unknown key', () => {
    expect(() => loadConfig(file('listeners:\n  mqtt:\n    prot: 1\n'), none)).toThrow(/prot/);
  });

  it('takes environment variables over the file', () => {
    const env = new Map([['ROBUSTMQ_LISTENERS__MQTT_WEB_SOCKET__PORT', '9001']]);
    const config = loadConfig(file('listeners: { mqttWebSocket: { port: 1 } }'), env);
    expect(config.listeners.mqttWebSocket.port).toBe(9001);
  });

  it('refuses an open listener unless that is asked for', () => {
    const open = 'listeners: { kafka: { host: 0.0.0.0, advertised: "broker.example:9092" } }';
    expect(() => loadConfig(file(open), none)).toThrow(/allowAnonymous/);
    expect(loadConfig(file(`allowAnonymous: true\n${open}`), none).listeners.kafka.host).toBe('0.0.0.0');
  });

  it('takes a log of small files, and says what sizes it can not have', () => {
    const log = (file: number, all: number) => `storage: { walFileBytes: ${file}, walBytes: ${all} }`;
    expect(loadConfig(file(log(1_048_576, 3_145_728)), none).storage.walFileBytes).toBe(1_048_576);
    expect(() => loadConfig(file(log(1_048_575, 3_145_728)), none)).toThrow(/walFileBytes/);
    expect(() => loadConfig(file(log(2_000_000, 8_388_608)), none)).toThrow(
      /walFileBytes: is no multiple of 4096/,
    );
    expect(() => loadConfig(file(log(2_097_152, 4_194_304)), none)).toThrow(/less than three files/);
  });

  it('says which file can not be read', () => {
    expect(() => loadConfig('/nowhere/robustmq.yaml', none)).toThrow(/nowhere/);
  });

  it('does not touch prototypes', () => {
    expect(() => loadConfig(null, new Map([['ROBUSTMQ___PROTO____X', '1']]))).toThrow();
    expect(({} as { x?: number }).x).toBeUndefined();
  });
});
