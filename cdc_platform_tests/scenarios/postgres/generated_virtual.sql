-- A virtual generated column is in no log: it is left out, whether it was there from the start or is added.
-- requires: postgres >= 18
-- table: items
create table items (id int primary key, price numeric(10, 2), twice numeric(12, 2) generated always as (price * 2) virtual);
insert into items (id, price) values (1, 1.50);
-- run
-- expect columns: id, price
alter table items add column thrice numeric(12, 2) generated always as (price * 3) virtual;
insert into items (id, price) values (2, 3);
update items set price = 4 where id = 1;
-- run
-- expect columns: id, price
