-- Rows changed by triggers are changes like any other.
-- table: parents
-- table: children
create table parents (id int primary key, touched int not null default 0);
create table children (id int primary key, parent int);
create trigger touch after insert on children for each row update parents set touched = touched + 1 where id = new.parent;
insert into parents (id) values (1);
-- run
insert into children values (1, 1), (2, 1);
-- run
-- expect rows parents
--   id | touched
--   1  | 2
