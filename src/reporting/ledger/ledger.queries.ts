/** Adds $3 to a total; 16 shards keep concurrent writers off each other's rows. */
export const ADD_TO_LEDGER = `
  insert into reporting.ledger (metric, label, shard, total) values ($1, $2, floor(random() * 16), $3)
  on conflict (metric, label, shard) do update set total = reporting.ledger.total + excluded.total`;

export const LEDGER_TOTALS =
  'select metric, label, sum(total)::float8 as total from reporting.ledger group by metric, label';
