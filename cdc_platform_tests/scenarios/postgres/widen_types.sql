-- Types that grow without a value changing: int to bigint, smallint to int, real to double precision, varchar to text,
-- more digits.
-- table: numbers
create table numbers (
  id int primary key, small smallint, name varchar(10), price numeric(10, 2), code char(2), ratio real
);
insert into numbers values (1, 1, 'one', 1.50, 'a', 0.5), (2, null, null, null, null, null);
-- run
alter table numbers alter column id type bigint;
insert into numbers values (3000000000, 3, 'three', 3.5, 'c', 0.25);
alter table numbers alter column small type int, alter column name type text, alter column price type numeric(14, 2),
  alter column ratio type double precision;
update numbers set small = 100000, name = repeat('x', 100), price = 123456789012.34, ratio = 0.1 where id = 1;
-- run
-- expect rows
--   id         | small  | price
--   1          | 100000 | 123456789012.34
--   2          | null   | null
--   3000000000 | 3      | 3.50
