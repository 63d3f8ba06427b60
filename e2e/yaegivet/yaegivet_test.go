package yaegivet_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/trafficshadow/mirror/e2e/yaegivet"
)

func TestRefuses(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), yaegivet.Analyzer, "refused")
}

func TestLetsGoodCodePass(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), yaegivet.Analyzer, "good")
}
