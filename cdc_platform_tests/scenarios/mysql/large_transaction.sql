-- One transaction of many rows, and others beside it. How many: CDC_TESTS_LARGE_ROWS.
-- keep: large
-- table: numbers
-- table: people
create table digits (d int primary key);
insert into digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
create table numbers (id bigint primary key, text_of_it varchar(40), half decimal(20, 1));
create table people (id int primary key, name varchar(100));
-- run
-- session a: begin;
insert into numbers
select n, concat('number ', n), n / 2
from (
  select a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 100000 * f.d + 1000000 * g.d + 1 as n
  from digits a, digits b, digits c, digits d, digits e, digits f, digits g
  where f.d * 100000 + g.d * 1000000 < $large_rows and e.d * 10000 < $large_rows and d.d * 1000 < $large_rows
) counted
where n <= $large_rows;
-- session b: insert into people values (1, 'Ada');
-- session a: update numbers set text_of_it = upper(text_of_it) where id % 3 = 0;
delete from numbers where id % 7 = 0;
commit;
-- run
