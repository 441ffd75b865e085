-- Names with capitals, spaces, quotes and letters from elsewhere; a table that is called as a keyword.
-- table: order
create table "order" (id int primary key, "Group" text, "two words" text, "größe" int, "it's" text);
insert into "order" values (1, 'a', 'b', 3, 'c');
-- run
update "order" set "two words" = null, "größe" = 4;
insert into "order" values (2, '', ' ', null, '"');
-- run
-- expect columns: id, Group, two words, größe, it's
