-- Rows that a foreign key's cascade changes are not in the log: the engine changes them, not the statement.
-- table: parents
-- table: children
create table parents (id int primary key);
create table children (
  id int primary key, parent int, foreign key (parent) references parents (id) on delete cascade on update cascade
);
insert into parents values (1), (2);
insert into children values (1, 1), (2, 2);
-- run
update parents set id = 20 where id = 2;
delete from parents where id = 1;
-- run
-- expect rows children
--   id | parent
--   2  | 20
update children set parent = null;
-- run
-- expect events children
--   UPDATE  {"id": 2, "parent": 20}  {"id": 2, "parent": null}
