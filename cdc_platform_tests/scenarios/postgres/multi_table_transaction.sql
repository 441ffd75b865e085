-- One transaction over several tables, in several schemas, comes whole: money moves, none is made.
-- table: accounts
-- table: audit.entries
create schema audit;
create table accounts (id int primary key, balance numeric(10, 2) check (balance >= 0));
create table audit.entries (id serial primary key, account int, amount numeric(10, 2));
insert into accounts values (1, 100), (2, 0);
-- run
begin;
update accounts set balance = balance - 30 where id = 1;
insert into audit.entries (account, amount) values (1, -30);
update accounts set balance = balance + 30 where id = 2;
insert into audit.entries (account, amount) values (2, 30);
commit;
-- run
-- expect events audit.entries
--   INSERT  null  {"id": 1, "account": 1, "amount": "-30.00"}
--   INSERT  null  {"id": 2, "account": 2, "amount": "30.00"}
-- expect rows accounts
--   id | balance
--   1  | 70.00
--   2  | 30.00
