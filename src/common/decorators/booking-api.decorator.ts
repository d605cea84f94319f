import { RouteConfig } from '@nestjs/platform-fastify';

/** The mark by which the HTTP edge knows the route. */
export interface BookingApiRoute {
  bookingApi?: true;
}

/**
 * This route is the Booking API: its own time, without third parties, is held to SLO-2, and every request to it counts,
 * those that are refused or given up as well. It is Fastify's route configuration: a second `@RouteConfig` on the method
 * would replace it.
 */
export function BookingApi(): MethodDecorator {
  return RouteConfig({ bookingApi: true } satisfies BookingApiRoute);
}
