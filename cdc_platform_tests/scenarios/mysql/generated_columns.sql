-- Generated columns, virtual and stored, from the start and added later.
-- table: items
create table items (
  id int primary key, price decimal(10, 2), amount int,
  total decimal(12, 2) generated always as (price * amount) stored,
  label varchar(40) generated always as (concat('item ', amount)) virtual
);
insert into items (id, price, amount) values (1, 1.50, 2);
-- run
insert into items (id, price, amount) values (2, 3, 3);
update items set amount = 4 where id = 1;
-- run
-- expect rows
--   id | total | label
--   1  | 6.00  | item 4
--   2  | 9.00  | item 3
alter table items add column twice decimal(12, 2) generated always as (price * 2) stored;
-- run
-- expect rows
--   id | twice
--   1  | 3.00
--   2  | 6.00
