import 'reflect-metadata';
import { SetMetadata } from '@nestjs/common';
import { wrapMethod } from './wrap-method.js';

const seen: string[] = [];
const Noted = wrapMethod((original, self, args) => {
  seen.push(original.name);
  return original.apply(self, args);
});

class Subject {
  prefix = 'hello';

  @Noted
  @SetMetadata('inner', 1)
  greet(name: string): string {
    return `${this.prefix} ${name}`;
  }

  @SetMetadata('outer', 2)
  @Noted
  async fail(): Promise<void> {
    throw new Error('failed inside');
  }
}

describe('a wrapped method', () => {
  beforeEach(() => seen.splice(0));

  it('keeps its receiver, arguments and result', () => {
    expect(new Subject().greet('world')).toBe('hello world');
    expect(seen).toEqual(['greet']);
  });

  it('keeps its name and the metadata of decorators below and above it', () => {
    expect(Subject.prototype.greet.name).toBe('greet');
    expect(Reflect.getMetadata('inner', Subject.prototype.greet)).toBe(1);
    expect(Reflect.getMetadata('outer', Subject.prototype.fail)).toBe(2);
  });

  it('passes a rejection on', async () => {
    await expect(new Subject().fail()).rejects.toThrow('failed inside');
  });
});
