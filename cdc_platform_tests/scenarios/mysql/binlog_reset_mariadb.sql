-- RESET MASTER: the log begins anew, under the same names and positions. A gap, never taken for the old log.
-- requires: mariadb
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
reset master;
insert into people values (2, 'Bob');
-- run
-- expect stop 4: 's binlog ends before file ..., offset ...: it was reset or the server replaced; run: cdc resync
-- expect nothing written
