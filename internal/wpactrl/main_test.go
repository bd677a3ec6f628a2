package wpactrl_test

import (
	"testing"

	"openmpa/internal/osnet/osnettest"
)

func TestMain(m *testing.M) { osnettest.Main(m) }
