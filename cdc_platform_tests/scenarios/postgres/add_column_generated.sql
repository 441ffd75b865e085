-- A stored generated column is added: computed for the rows that are there, without a change in the log.
-- requires: postgres >= 18
-- table: items
create table items (id int primary key, price numeric(10, 2), amount int);
insert into items values (1, 1.50, 2);
-- run
alter table items add column total numeric(12, 2) generated always as (price * amount) stored;
insert into items (id, price, amount) values (2, 3, 3);
update items set amount = 4 where id = 1;
-- run
-- expect rows
--   id | total
--   1  | 6.00
--   2  | 9.00
