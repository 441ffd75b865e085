-- MariaDB compresses row events. Elsewhere they are skipped without a word; here the table stops, and stays so until its
-- pipeline is begun anew. The others go on.
-- requires: mariadb
-- table: people
-- table: others
create table others (id int primary key);
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob');
set global log_bin_compress_min_len = 10;
set global log_bin_compress = on;
insert into people values (3, repeat('x', 1000));
update people set name = repeat('y', 1000) where id = 1;
set global log_bin_compress = off;
set global log_bin_compress_min_len = default;
delete from people where id = 3;
insert into others values (1);
-- run
-- expect stop 4 people: people: the binlog at ... holds compressed rows; set log_bin_compress=OFF and begin its pipeline anew
-- expect nothing written people
insert into people values (4, 'Dan');
-- run
-- expect stop 4 people: people: the binlog at ... holds compressed rows; set log_bin_compress=OFF and begin its pipeline anew
-- expect nothing written people
