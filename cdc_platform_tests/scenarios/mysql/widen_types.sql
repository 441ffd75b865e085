-- Types that grow without a value changing.
-- table: numbers
create table numbers (id int primary key, small smallint, name varchar(10), price decimal(10, 2), ratio float);
insert into numbers values (1, 1, 'one', 1.50, 0.5), (2, null, null, null, null);
-- run
alter table numbers modify id bigint, modify small int, modify name text, modify price decimal(14, 2), modify ratio double;
insert into numbers values (3000000000, 100000, repeat('x', 100), 123456789012.34, 0.1);
update numbers set small = 100000 where id = 1;
-- run
-- expect rows
--   id         | small  | price
--   1          | 100000 | 1.50
--   2          | null   | null
--   3000000000 | 100000 | 123456789012.34
