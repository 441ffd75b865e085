-- Values at the edges of their types, through snapshot and stream alike: none is rounded, cut or made null.
-- table: edges
create table edges (
  id int primary key, tiny tinyint, big bigint, exact decimal(38, 10), more decimal(65, 30), real_one float, double_one double,
  day date, at datetime(6), fixed binary(4), bytes varbinary(20), long_one longtext, char_one char(5)
);
insert into edges values
  (1, -128, -9223372036854775808, -9999999999999999999999999999.9999999999,
   99999999999999999999999999999999999.999999999999999999999999999999, 0.1, 1e-308, '1000-01-01',
   '1000-01-01 00:00:00.000001', x'00ff', x'', repeat('ü', 70000), 'ab '),
  (2, 127, 9223372036854775807, 0.0000000001, 0, -0.5, -1e308, '9999-12-31', '9999-12-31 23:59:59.999999', x'01020304',
   x'00', '', ''),
  (3, null, null, null, null, null, null, null, null, null, null, null, null);
-- run
insert into edges select id + 10, tiny, big, exact, more, real_one, double_one, day, at, fixed, bytes, long_one, char_one
from edges;
update edges set exact = exact / 2, char_one = ' x' where id < 10;
-- run
