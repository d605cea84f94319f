// Nest 12 is ESM-only; CommonJS packages that require it need it loaded first, or Node reports a require cycle.
import 'reflect-metadata';
import '@nestjs/common';
import '@nestjs/core';
