-- Changes of parents that no key passes on make no comparison: one would find the row that was hidden from the log.
-- requires: mariadb
-- table: children
create table parents (id int primary key, code varchar(10) unique, name varchar(20));
create table children (
  id int primary key, parent int, name varchar(20),
  foreign key (parent) references parents (id) on delete cascade on update cascade
);
create table others (id int primary key, parent int, foreign key (parent) references parents (id));
insert into parents values (1, 'a', 'Ada'), (2, 'b', 'Bob'), (3, 'c', 'Cid');
insert into children values (1, 1, 'x'), (2, 2, 'y');
-- run
set session sql_log_bin = 0;
update children set name = 'hidden' where id = 1;
set session sql_log_bin = 1;
update parents set name = 'Adele' where id = 1;
update parents set code = 'z', id = id where id = 2;
insert into parents values (4, 'd', 'Dan') on duplicate key update name = 'never';
insert into parents values (4, 'd', 'Dan') on duplicate key update name = 'Dave';
begin;
delete from parents where id = 2;
rollback;
set session foreign_key_checks = 0;
delete from parents where id = 3;
set session foreign_key_checks = 1;
update children set name = 'new' where id = 2;
-- capture
set session sql_log_bin = 0;
update children set name = 'x' where id = 1;
set session sql_log_bin = 1;
-- run
-- expect events
--   UPDATE  {"id": 2, "parent": 2, "name": "y"}  {"id": 2, "parent": 2, "name": "new"}
