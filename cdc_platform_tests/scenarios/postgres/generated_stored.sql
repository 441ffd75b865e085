-- A stored generated column from the start.
-- requires: postgres >= 18
-- table: items
create table items (
  id int primary key, price numeric(10, 2), amount int, total numeric(12, 2) generated always as (price * amount) stored
);
insert into items (id, price, amount) values (1, 1.50, 2);
-- run
insert into items (id, price, amount) values (2, 3, 3);
update items set amount = 4 where id = 1;
-- run
-- expect rows
--   id | total
--   1  | 6.00
--   2  | 9.00
