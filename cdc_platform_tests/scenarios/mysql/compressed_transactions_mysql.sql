-- MySQL compresses whole transactions. Elsewhere they are skipped without a word; here what precedes them comes through,
-- then there is a stop, which stays until the pipelines are begun anew.
-- requires: mysql
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob');
set session binlog_transaction_compression = on;
begin;
insert into people values (3, repeat('x', 1000)), (4, 'Cid');
update people set name = repeat('y', 1000) where id = 1;
commit;
set session binlog_transaction_compression = off;
delete from people where id = 3;
-- run
-- expect stop 4: it is compressed; set binlog_transaction_compression=OFF, in every session, and begin the source's pipelines anew
-- expect rows
--   id | name
--   1  | Ada
--   2  | Bob
insert into people values (5, 'Dan');
-- run
-- expect stop 4: it is compressed; set binlog_transaction_compression=OFF, in every session, and begin the source's pipelines anew
-- expect nothing written
