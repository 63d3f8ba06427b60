module github.com/trafficshadow/rewrite

go 1.22
