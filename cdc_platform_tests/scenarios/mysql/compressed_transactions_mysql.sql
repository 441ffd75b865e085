-- MySQL compresses whole transactions. Elsewhere they are skipped without a word.
-- requires: mysql
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
set session binlog_transaction_compression = on;
begin;
insert into people values (2, repeat('x', 1000)), (3, 'Cid');
update people set name = repeat('y', 1000) where id = 1;
commit;
delete from people where id = 2;
set session binlog_transaction_compression = off;
insert into people values (4, 'Dan');
-- run
