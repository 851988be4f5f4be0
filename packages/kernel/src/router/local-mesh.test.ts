import type { NodeId } from '@robustmq/core';
import { describe, expect, test } from 'vitest';
import { brokerMeshConformance } from '../conformance/broker-mesh.ts';
import { LocalMesh } from './local-mesh.ts';

const self = 7 as NodeId;

brokerMeshConformance({ describe, test }, async ({ ownedNext }) => {
  const mesh = new LocalMesh(self, ownedNext);
  return { owner: mesh, receiver: mesh, close: async () => undefined };
});

test('a frame is with the listener when the call returns, subjects and all', () => {
  const mesh = new LocalMesh(self);
  const got: unknown[] = [];
  const frame = { shard: 1 as never, epoch: 1 as never, from: 0, to: 0, batches: [] };
  mesh.committed(frame);
  mesh.listen({ appended: (one) => got.push(one), committed: (one) => got.push(one) });
  mesh.appended(frame);
  mesh.committed(frame);
  expect(got).toEqual([frame, frame]);
  expect(got[0]).toBe(frame);
  expect(mesh.self).toBe(self);
});

test('a second listener is a mistake of ours', () => {
  const mesh = new LocalMesh(self);
  const listener = { appended: () => undefined, committed: () => undefined };
  mesh.listen(listener);
  expect(() => mesh.listen(listener)).toThrow('one listener');
});
