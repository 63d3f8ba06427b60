module github.com/trafficshadow/passthrough

go 1.21
