-- Before release 18 the log has no generated columns: the documented answer is that they are left out, from the start
-- and when one is added, and everything else comes through.
-- requires: postgres < 18
-- table: items
create table items (
  id int primary key, price numeric(10, 2), amount int, total numeric(12, 2) generated always as (price * amount) stored
);
insert into items (id, price, amount) values (1, 1.50, 2);
-- run
-- expect columns: id, price, amount
alter table items add column twice int generated always as (amount * 2) stored;
insert into items (id, price, amount) values (2, 3, 3);
update items set amount = 4 where id = 1;
-- run
-- expect columns: id, price, amount
-- expect events
--   INSERT  null                                    {"id": 2, "price": "3.00", "amount": 3}
--   UPDATE  {"id": 1, "price": null, "amount": null}  {"id": 1, "price": "1.50", "amount": 4}
