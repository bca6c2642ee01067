# SPDX-License-Identifier: Apache-2.0
defmodule LibclusterRollcall.MixProject do
  use Mix.Project

  def project do
    [
      app: :libcluster_rollcall,
      version: "0.1.0",
      elixir: "~> 1.13",
      description:
        "A libcluster strategy that finds nodes by the Rollcall port mapper, and a child for those without libcluster",
      elixirc_paths: elixirc_paths(Mix.env()),
      deps: deps(Mix.env()),
      # What LIBCLUSTER_EBIN names is no dependency that mix knows of.
      prune_code_paths: libcluster_ebins() == [],
      xref: [exclude: if(libcluster_ebins() == [], do: [], else: [Cluster.Strategy, Cluster.Logger])],
      package: [licenses: ["Apache-2.0"], files: ["lib", "mix.exs", ".formatter.exs", "README.md"]],
      docs: [main: "readme", extras: ["README.md"]]
    ]
  end

  def application, do: [extra_applications: [:logger]]

  # Tests need neither network nor hex: `mix` asks for hex as soon as one dependency is no path. Our own tests are
  # the only ones for which this project is built in :test; as a dependency it is built in :prod.
  defp deps(:test), do: [rollcall()]
  # Optional, since Rollcall.Cluster does without it. Who has libcluster among his own dependencies gets the strategy.
  defp deps(_), do: [rollcall(), {:libcluster, "~> 3.3", optional: true}]

  # Both lie in one repository.
  defp rollcall, do: {:rollcall, path: "../erlang"}

  # The tests take a stand-in of libcluster, or the real one, where LIBCLUSTER_EBIN names its compiled files.
  defp elixirc_paths(:test),
    do: ["lib", "test/support"] ++ if(libcluster_ebins() == [], do: ["test/stand_in"], else: [])

  defp elixirc_paths(_), do: ["lib"]

  # Directories with a colon between them: libcluster's and telemetry's.
  defp libcluster_ebins do
    ebins =
      if Mix.env() == :test, do: "LIBCLUSTER_EBIN" |> System.get_env("") |> String.split(":", trim: true), else: []

    unless ebins == [] or Enum.any?(ebins, &File.exists?(Path.join(&1, "Elixir.Cluster.Strategy.beam"))),
      do: Mix.raise("LIBCLUSTER_EBIN: there is no compiled libcluster in #{Enum.join(ebins, " or ")}")

    Enum.each(ebins, &Code.prepend_path/1)
    ebins
  end
end
