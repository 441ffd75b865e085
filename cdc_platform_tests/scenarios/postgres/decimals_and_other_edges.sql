-- Values at the edges of their types, through snapshot and stream alike: none is rounded, cut or made null.
-- Elsewhere decimals become doubles, NaN becomes null, long values are cut (peerdb#1226 and others).
-- table: edges
create table edges (
  id int primary key, small smallint, big bigint, exact numeric(38, 10), any_number numeric, real_one float4,
  double_one float8, day date, at timestamp, at_zone timestamptz, yes boolean, bytes bytea, char_one char(5), json_one jsonb
);
insert into edges values
  (1, -32768, -9223372036854775808, -9999999999999999999999999999.9999999999, 0.1, 'NaN', '-Infinity', '0001-01-01',
   '0001-01-01 00:00:00', '0001-01-01 00:00:00+00', true, '\x00ff', 'ab', '{"a": 1e400}'),
  (2, 32767, 9223372036854775807, 0.0000000001, 'NaN', 0.1, 1e-320, '9999-12-31', '9999-12-31 23:59:59.999999',
   '9999-12-31 23:59:59.999999+00', false, '', '', '""'),
  (3, null, null, null, null, null, null, null, null, null, null, null, null, null);
-- run
insert into edges select id + 10, small, big, exact, any_number, real_one, double_one, day, at, at_zone, yes, bytes,
  char_one, json_one from edges;
update edges set any_number = -any_number, exact = exact / 2, char_one = ' x' where id < 10;
-- run
