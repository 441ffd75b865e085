-- One transaction over several tables, and one statement over two, come whole.
-- table: accounts
-- table: entries
create table accounts (id int primary key, balance decimal(10, 2));
create table entries (id int primary key auto_increment, account int, amount decimal(10, 2));
insert into accounts values (1, 100), (2, 0);
-- run
begin;
update accounts set balance = balance - 30 where id = 1;
insert into entries (account, amount) values (1, -30);
update accounts set balance = balance + 30 where id = 2;
insert into entries (account, amount) values (2, 30);
commit;
update accounts, entries set balance = 0, amount = 0 where accounts.id = account and account = 2;
-- run
-- expect events entries
--   INSERT  null                                         {"id": 1, "account": 1, "amount": "-30.00"}
--   INSERT  null                                         {"id": 2, "account": 2, "amount": "30.00"}
--   UPDATE  {"id": 2, "account": 2, "amount": "30.00"}   {"id": 2, "account": 2, "amount": "0.00"}
