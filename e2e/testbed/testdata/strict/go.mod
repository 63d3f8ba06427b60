module github.com/trafficshadow/strict

go 1.21
