-- ON DELETE SET NULL changes rows that no event in MariaDB's binlog tells of, among others that are told.
-- table: parents
-- table: children
create table parents (id int primary key, code varchar(10) unique);
create table children (
  id int primary key, parent int, code varchar(10), note varchar(10),
  foreign key (parent) references parents (id) on delete set null,
  foreign key (code) references parents (code) on delete set null on update set null
);
insert into parents values (1, 'a'), (2, 'b'), (3, 'c');
insert into children values (1, 1, 'a', 'x'), (2, 2, 'b', 'y'), (3, 3, 'c', 'z'), (4, 1, 'b', null);
-- run
begin;
update children set note = 'new' where id = 1;
delete from parents where id = 1;
update children set note = 'newer' where id = 1;
commit;
update parents set code = 'B' where id = 2;
-- run
-- expect rows children
--   id | parent | code | note
--   1  | null   | null | newer
--   2  | 2      | null | y
--   3  | 3      | c    | z
--   4  | null   | null | null
