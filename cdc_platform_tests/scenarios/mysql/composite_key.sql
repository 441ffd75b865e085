-- A key of several columns, not the first ones and in an order of its own; each part of it changes.
-- table: prices
create table prices (
  amount decimal(8, 2), sku varchar(20), valid_from date, currency char(3), primary key (currency, sku)
);
insert into prices values (1.50, 'a', '2026-01-01', 'EUR'), (1.75, 'a', '2026-01-01', 'USD'), (9.99, 'b', null, 'EUR');
-- run
update prices set amount = 2.50 where sku = 'a' and currency = 'EUR';
update prices set sku = 'c' where sku = 'b';
update prices set currency = 'GBP' where currency = 'USD';
-- run
-- expect rows
--   sku | currency | amount
--   a   | EUR      | 2.50
--   a   | GBP      | 1.75
--   c   | EUR      | 9.99
delete from prices where sku = 'a';
-- run
