import { Injectable } from '@nestjs/common';

/** Whether this process is on its way out; readiness reads it before anything else happens at shutdown. */
@Injectable()
export class Lifecycle {
  private ending = false;

  get stopping(): boolean {
    return this.ending;
  }

  beginShutdown(): void {
    this.ending = true;
  }
}
