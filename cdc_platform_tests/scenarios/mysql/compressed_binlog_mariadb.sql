-- MariaDB compresses row events. Elsewhere they are skipped without a word.
-- requires: mariadb
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
set global log_bin_compress_min_len = 10;
set global log_bin_compress = on;
insert into people values (2, repeat('x', 1000));
update people set name = repeat('y', 1000) where id = 1;
delete from people where id = 2;
set global log_bin_compress = off;
-- run
-- expect rows
--   id
--   1
