-- Names with capitals, quotes and letters from elsewhere; a table that is called as a keyword.
-- table: order
create table `order` (id int primary key, `Group` text, `größe` int, `it's` text, `a"b` text);
insert into `order` values (1, 'a', 3, 'c', 'd');
-- run
update `order` set `Group` = null, `größe` = 4;
insert into `order` values (2, '', null, '`', '''');
-- run
-- expect columns: id, Group, größe, it's, a"b
