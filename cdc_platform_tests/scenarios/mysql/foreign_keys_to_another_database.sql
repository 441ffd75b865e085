-- A parent in another database.
-- table: children
create database $database_parents;
create table $database_parents.parents (id int primary key, note varchar(10));
create table children (
  id int primary key, parent int,
  foreign key (parent) references $database_parents.parents (id) on delete cascade on update cascade
);
insert into $database_parents.parents values (1, 'a'), (2, 'b');
insert into children values (1, 1), (2, 2);
-- run
update $database_parents.parents set note = 'c';
-- run
-- expect events
delete from $database_parents.parents where id = 1;
update $database_parents.parents set id = 20 where id = 2;
-- run
-- expect rows children
--   id | parent
--   2  | 20
drop table children;
drop database $database_parents;
