# SPDX-License-Identifier: Apache-2.0

# For users of mix, which builds an Erlang application without rebar3 then. What it says of the application is said in
# src/rollcall.app.src alone.
defmodule Rollcall.MixProject do
  use Mix.Project

  def project do
    {_, description} = app()

    [
      app: :rollcall,
      version: List.to_string(description[:vsn]),
      description: List.to_string(description[:description]),
      language: :erlang,
      deps: [],
      package: [licenses: ["Apache-2.0"], files: ["src", "mix.exs"]]
    ]
  end

  def application do
    {applications, description} = app()
    Keyword.take(description, [:mod, :env, :registered]) ++ [extra_applications: applications]
  end

  defp app do
    {:ok, [{:application, :rollcall, description}]} = :file.consult(Path.join(__DIR__, "src/rollcall.app.src"))
    {description[:applications] -- [:kernel, :stdlib], description}
  end
end
