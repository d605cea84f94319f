import { Body, Controller, Get, HttpCode, Post, Query, UseGuards } from '@nestjs/common';
import { valid } from '../../common/errors/valid.js';
import { Operator, OpsGuard } from '../../infra/auth/ops.guard.js';
import {
  type DeadLetter,
  type DeadLetterGroup,
  DeadLetters,
  type Discarded,
  type Retried,
} from '../../infra/outbox/dead-letters.service.js';
import { discardBody, encodeCursor, groupsQuery, listQuery, retryBody, scopeOf } from './dead-letters.dto.js';

interface ListAnswer<Item> {
  items: Item[];
  next_cursor: string | null;
}

/** Deliveries that gave up: look, retry, discard. */
@Controller('ops/api/dead-letters')
@UseGuards(OpsGuard)
export class DeadLettersController {
  constructor(private readonly deadLetters: DeadLetters) {}

  @Get()
  async list(@Query() query: Record<string, unknown>): Promise<ListAnswer<DeadLetter | DeadLetterGroup>> {
    const grouped = query['group'] !== undefined;
    const { items, next } = grouped ? await this.groups(query) : await this.deliveries(query);
    return { items, next_cursor: encodeCursor(next) };
  }

  @Post('retry')
  @HttpCode(200)
  retry(@Body() body: unknown, @Operator() actor: string): Promise<Retried> {
    const { rate_per_second: ratePerSecond, ...scope } = valid(retryBody, body);
    return this.deadLetters.retry(scopeOf(scope), { actor, ratePerSecond });
  }

  @Post('discard')
  @HttpCode(200)
  discard(@Body() body: unknown, @Operator() actor: string): Promise<Discarded> {
    const { reason: why, ...scope } = valid(discardBody, body);
    return this.deadLetters.discard(scopeOf(scope), { actor, why });
  }

  private deliveries(query: unknown) {
    const { limit, cursor, ...filter } = valid(listQuery, query);
    return this.deadLetters.list(filter, limit, cursor);
  }

  private groups(query: unknown) {
    const { limit, cursor, group: _, ...filter } = valid(groupsQuery, query);
    return this.deadLetters.groups(filter, limit, cursor);
  }
}
