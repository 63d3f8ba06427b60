module github.com/trafficshadow/limit

go 1.22
