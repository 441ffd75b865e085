# Run once by the entrypoint of the mysql and mariadb images, which gives the user all rights on its database only.
# Reading the binlog and taking a consistent snapshot need these rights on the server.
docker_process_sql --database=mysql <<SQL
grant reload, replication slave, replication client on *.* to '${MYSQL_USER}'@'%';
SQL
