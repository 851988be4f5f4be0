import { systemClock } from '@robustmq/core';
import { expect, it } from 'vitest';
import { DescriptorBound, descriptorLimit } from './descriptor-bound.ts';

it('connections leave the descriptors that are reserved, and what they give back is free again', () => {
  const bound = new DescriptorBound(systemClock, 30, () => 100);
  let taken = 0;
  while (bound.take()) taken++;
  expect(taken).toBe(70);
  bound.give();
  expect([bound.take(), bound.take()]).toEqual([true, false]);
});

it('the limit is the one of this process', () => {
  expect(descriptorLimit()).toBeGreaterThan(100);
});
