-- A table that refers to itself: deleting a row deletes those below it, of which MariaDB logs the first only.
-- table: folders
create table folders (
  id int primary key, parent int, name varchar(20), foreign key (parent) references folders (id) on delete cascade
);
insert into folders values (1, null, 'root'), (2, 1, 'home'), (3, 2, 'ada'), (4, null, 'other'), (5, 4, 'bob');
-- run
delete from folders where id = 1;
insert into folders values (6, 4, 'cid');
-- run
-- expect rows folders
--   id | parent | name
--   4  | null   | other
--   5  | 4      | bob
--   6  | 4      | cid
