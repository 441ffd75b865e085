-- A reload as many write it: empty, then fill, in one transaction. Rows before it go, rows after it stay.
-- table: rates
create table rates (code text primary key, rate numeric(10, 4));
insert into rates values ('EUR', 1), ('USD', 1.1), ('GBP', 0.8);
-- run
begin;
insert into rates values ('JPY', 160);
truncate rates;
insert into rates values ('EUR', 1), ('USD', 1.2);
update rates set rate = 1.25 where code = 'USD';
commit;
-- run
-- expect rows
--   code | rate
--   EUR  | 1.0000
--   USD  | 1.2500
